/** A module that the contract refuses as a whole, whatever it exports. */
export const transaction = true;

export const query = async (): Promise<void> => undefined;
